-- Why a family waits: an unreachable eBay is no refusal.
ALTER TABLE ebay_sync_state ADD COLUMN retry_kind text;
COMMENT ON COLUMN ebay_sync_state.retry_kind IS 'why it waits until retry_at: failed, or unreachable (no answer at all), which lasts one interval at most and ends with eBay''s first answer to any call of the account';
COMMENT ON COLUMN ebay_sync_state.failures IS 'failed runs in a row, without those that could not reach eBay';
COMMENT ON COLUMN ebay_api_usage.resting_until IS 'no call is made until then, and never longer than ten minutes after the quota day; NULL again after `resume --api`';
COMMENT ON COLUMN ebay_control_log.value IS 'the minutes of `families every` (NULL: the default was restored), or the API of `resume --api`';
