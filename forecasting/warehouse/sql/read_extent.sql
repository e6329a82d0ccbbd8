-- The last complete day of the given sites, and how many rows have no day at all.
-- $1 date     today, which is not over
-- $2 text[]   sites; empty: all
select
    (
        select max(m.date)::date
        from daily_metrics as m
        where
            m.date < $1::date
            and isfinite(m.date)
            and (cardinality($2::text[]) = 0 or coalesce(to_jsonb(m.*) ->> 'site', current_database()) = any($2))
    ) as last_day,
    (
        select count(*)
        from daily_metrics as m
        where m.date is null or m.date = 'infinity' or m.date = '-infinity'
    ) as undated;
