-- The next series by their keys that have a day on or after the first: a row each, its days and their values.
-- All of the rows wanted are read in the order of the primary key. Where only the last of many days are wanted,
-- read_last_days.sql is faster. Days are a number since 1970-01-01; NULL is NaN, so that every element is as long.
-- Without a semicolon, since COPY takes it in brackets.
-- $1 text     site and
-- $2 text     metric after which to go on; both empty: from the beginning
-- $3 integer  how many series
-- $4 date     today: days from it on are left out
-- $5 text[]   sites; empty: all
-- $6 text[]   metrics; empty: all
-- $7 integer  which share of the series, from 0
-- $8 integer  of how many shares
-- $9 date     first day
-- $10 text    whose sites; empty: whoever's
-- $11 text[]  verdicts that mask a value: infinite
select
    d.site,
    d.metric,
    array_agg(d.day - date '1970-01-01') as days,
    array_agg(case when d.verdict = any($11::text[]) then 'Infinity' else coalesce(d.value, 'NaN') end) as values
from forecasting.daily as d
where
    (d.site, d.metric) > ($1::text, $2::text)
    and d.day < $4::date
    and d.day >= $9::date
    and d.day > '-infinity'
    and (cardinality($5::text[]) = 0 or d.site = any($5::text[]))
    and (cardinality($6::text[]) = 0 or d.metric = any($6::text[]))
    and (
        $8::integer = 1
        or (hashtextextended(d.site || chr(31) || d.metric, 0) & 9223372036854775807) % $8::integer = $7::integer
    )
    and ($10::text = '' or d.site in (select sites.site from forecasting.sites where sites.source = $10::text))
group by d.site, d.metric
order by d.site, d.metric
limit $3::integer
