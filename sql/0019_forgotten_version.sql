-- So that a process reads the list of erased people once, and again only when it has grown.

ALTER TABLE ebay_forgotten_salt ADD COLUMN version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ebay_forgotten_salt.version IS 'Grows with every change of ebay_forgotten, in the same transaction';
