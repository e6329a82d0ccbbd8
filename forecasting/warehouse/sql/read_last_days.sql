-- The next series by their keys, a row each: its last days and their values, newest first.
-- Keys are found by hopping from one to the next in the primary key's index, and days from the end of a series back: what
-- this costs depends on the number of series and of days wanted, not on how long the history is, and a series that ended
-- long ago is found like any other. Days are a number since 1970-01-01; NULL is NaN, so that every element is as long.
-- Without a semicolon, since COPY takes it in brackets.
-- $1 text     site and
-- $2 text     metric after which to go on; both empty: from the beginning
-- $3 integer  how many series
-- $4 date     today: days from it on are left out
-- $5 text[]   sites; empty: all
-- $6 text[]   metrics; empty: all
-- $7 integer  which share of the series, from 0
-- $8 integer  of how many shares
-- $9 integer  how many days, at most
-- $10 text    whose sites; empty: whoever's
-- $11 text[]  verdicts that mask a value: infinite
with recursive keys as (
    (
        select d.site, d.metric
        from forecasting.daily as d
        where (d.site, d.metric) > ($1::text, $2::text)
        order by d.site, d.metric
        limit 1
    )
    union all
    select following.site, following.metric
    from keys
    cross join lateral (
        select d.site, d.metric
        from forecasting.daily as d
        where (d.site, d.metric) > (keys.site, keys.metric)
        order by d.site, d.metric
        limit 1
    ) as following
),

page as (
    select keys.site, keys.metric
    from keys
    where
        (cardinality($5::text[]) = 0 or keys.site = any($5::text[]))
        and (cardinality($6::text[]) = 0 or keys.metric = any($6::text[]))
        and ($10::text = '' or keys.site in (select sites.site from forecasting.sites where sites.source = $10::text))
        and (hashtextextended(keys.site || chr(31) || keys.metric, 0) & 9223372036854775807) % $8::integer = $7::integer
    limit $3::integer
)

select page.site, page.metric, known.days, known.values
from page
cross join lateral (
    select
        coalesce(array_agg(recent.day - date '1970-01-01'), '{}') as days,
        coalesce(array_agg(recent.value), '{}') as values
    from (
        select
            d.day,
            case when d.verdict = any($11::text[]) then 'Infinity' else coalesce(d.value, 'NaN') end as value
        from forecasting.daily as d
        where
            d.site = page.site
            and d.metric = page.metric
            and d.day < $4::date
            and d.day > '-infinity'
        order by d.day desc
        limit $9::integer
    ) as recent
) as known
