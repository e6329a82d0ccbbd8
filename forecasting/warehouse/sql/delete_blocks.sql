-- Forgets what blocks of days were like.
-- $1 text     source
-- $2 text[]   keys of the sites
-- $3 date     first day
-- $4 date     the day after the last day
delete from forecasting.blocks
where
    blocks.source = $1::text
    and blocks.key = any($2::text[])
    and blocks.first_day > $3::date - 28
    and blocks.first_day < $4::date;
