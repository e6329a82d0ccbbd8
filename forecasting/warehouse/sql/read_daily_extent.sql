-- The first and the last complete day on which any of the sites has a value, and the number of rows with an impossible day, which are
-- never read. Reads all rows of the sites.
-- $1 date     today, which is not over yet
-- $2 text[]   sites; empty: all
-- $3 text     the source that the sites belong to; empty: any
select
    min(d.day) filter (where d.day < $1::date and d.day >= '1990-01-01' and d.value <> 'NaN') as first_day,
    max(d.day) filter (where d.day < $1::date and d.day >= '1990-01-01' and d.value <> 'NaN') as last_day,
    count(*) filter (where d.day < '1990-01-01' or d.day >= '9999-12-31') as num_misdated
from forecasting.daily as d
where
    (cardinality($2::text[]) = 0 or d.site = any($2::text[]))
    and (
        $3::text = ''
        or d.site in (
            select sites.site from forecasting.sites where sites.source = $3::text and sites.gone_at is null
        )
    );
