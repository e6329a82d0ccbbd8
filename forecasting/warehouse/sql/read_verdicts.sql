-- Days with one of the given verdicts.
-- $1 date     first day
-- $2 text[]   sites; empty: all
-- $3 text[]   metrics; empty: all
-- $4 text     the source that the sites belong to; empty: any
-- $5 text[]   verdicts
select d.site, d.metric, d.day, d.verdict
from forecasting.daily as d
where
    d.verdict = any($5::text[])
    and d.day >= $1::date
    and d.day >= '1990-01-01'
    and d.day < '9999-12-31'
    and (cardinality($2::text[]) = 0 or d.site = any($2::text[]))
    and (cardinality($3::text[]) = 0 or d.metric = any($3::text[]))
    and (
        $4::text = ''
        or d.site in (
            select sites.site from forecasting.sites where sites.source = $4::text and sites.gone_at is null
        )
    );
