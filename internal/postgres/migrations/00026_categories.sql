-- +goose Up
-- What a product is one of, in a shop's own words: rules for returns go by it.
ALTER TABLE products ADD COLUMN category text NOT NULL DEFAULT '' CHECK (category ~ '^[a-z0-9._/-]{0,64}$');

-- +goose Down
ALTER TABLE products DROP COLUMN category;
