-- The next series in the order of their keys, found by hopping from one key to the next in the primary key's index: the
-- cost depends on the number of series, not on the length of their histories.
-- $1 text     site and
-- $2 text     metric of the series to start after; both empty: from the start
-- $3 integer  how many series at most; NULL: all
-- $4 text[]   sites; empty: all
-- $5 text[]   metrics; empty: all
-- $6 integer  which share of the series, from 0
-- $7 integer  of how many shares
-- $8 text     the source that the sites belong to; empty: any
with recursive series as (
    (
        select d.site, d.metric
        from forecasting.daily as d
        where (d.site, d.metric) > ($1::text, $2::text)
        order by d.site, d.metric
        limit 1
    )
    union all
    select following.site, following.metric
    from series
    cross join lateral (
        select d.site, d.metric
        from forecasting.daily as d
        where (d.site, d.metric) > (series.site, series.metric)
        order by d.site, d.metric
        limit 1
    ) as following
)

select series.site, series.metric
from series
where
    (cardinality($4::text[]) = 0 or series.site = any($4::text[]))
    and (cardinality($5::text[]) = 0 or series.metric = any($5::text[]))
    and (
        $8::text = ''
        or series.site in (
            select sites.site from forecasting.sites where sites.source = $8::text and sites.gone_at is null
        )
    )
    and (hashtextextended(series.site || chr(31) || series.metric, 0) & 9223372036854775807) % $7::integer = $6::integer
limit $3::integer;
