-- What eBay has taught us about a consent: scopes that a call was refused for (403/1100). A renewed consent forgets them.

ALTER TABLE ebay_authorizations ADD COLUMN missing_scopes text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN ebay_authorizations.missing_scopes IS 'eBay has refused a call for want of these; no further call is spent until the consent is renewed';
