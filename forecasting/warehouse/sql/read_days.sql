-- The next series in the order of their keys that have a day on or after the first day: one row per series, with its
-- days and their values. Every matching row is read, in the order of the primary key. For a few days of long histories
-- read_last_days.sql is faster.
-- Days are numbers since 1970-01-01. NULL becomes NaN, so that all elements have the same length.
-- $1 text     site and
-- $2 text     metric of the series to start after; both empty: from the start
-- $3 integer  how many series at most
-- $4 text[]   sites; empty: all
-- $5 text[]   metrics; empty: all
-- $6 integer  which share of the series, from 0
-- $7 integer  of how many shares
-- $8 text     the source that the sites belong to; empty: any
-- $9 date     today: days from it on are left out
-- $10 date    first day
-- $11 text[]  verdicts that mask a value, which becomes infinite
select
    d.site,
    d.metric,
    array_agg(d.day - date '1970-01-01') as days,
    array_agg(case when d.verdict = any($11::text[]) then 'Infinity' else coalesce(d.value, 'NaN') end) as values
from forecasting.daily as d
where
    (d.site, d.metric) > ($1::text, $2::text)
    and d.day < $9::date
    and d.day >= $10::date
    and d.day >= '1990-01-01'
    and d.day < '9999-12-31'
    and (cardinality($4::text[]) = 0 or d.site = any($4::text[]))
    and (cardinality($5::text[]) = 0 or d.metric = any($5::text[]))
    and (
        $7::integer = 1
        or (hashtextextended(d.site || chr(31) || d.metric, 0) & 9223372036854775807) % $7::integer = $6::integer
    )
    and (
        $8::text = ''
        or d.site in (
            select sites.site from forecasting.sites where sites.source = $8::text and sites.gone_at is null
        )
    )
group by d.site, d.metric
order by d.site, d.metric
limit $3::integer;
