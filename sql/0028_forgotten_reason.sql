-- Why a person was erased, for `ebaysync forget --list`.

ALTER TABLE ebay_forgotten ADD COLUMN reason text;
COMMENT ON COLUMN ebay_forgotten.reason IS 'Why (ebaysync forget --reason); never the name itself';
