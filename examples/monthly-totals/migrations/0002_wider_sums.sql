-- The largest balance is as wide as numeric(38, 0), and a month's turnover may be many of them.
ALTER TABLE monthly_totals_v1_totals
  ALTER COLUMN came_in TYPE numeric, ALTER COLUMN went_out TYPE numeric;
ALTER TABLE IF EXISTS monthly_totals_v1_next_totals
  ALTER COLUMN came_in TYPE numeric, ALTER COLUMN went_out TYPE numeric;
