-- Whether a transaction whose COMMIT was never answered has been committed after all.
ALTER TABLE ebay_lease ADD COLUMN mark uuid;
COMMENT ON COLUMN ebay_lease.mark IS 'names the holder''s last transaction that was committed: one that is repeated because its COMMIT was not answered finds itself here';
