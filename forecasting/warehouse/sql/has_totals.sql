-- Whether the newest day of a site of a source is a daily total, which has no hours. Always one row.
-- $1 text     source
-- $2 text     metric
select exists (
    select from forecasting.sites
    cross join lateral (
        select d.hours
        from forecasting.daily as d
        where d.site = sites.site and d.metric = $2::text
        order by d.day desc
        limit 1
    ) as newest
    where sites.source = $1::text and newest.hours is null
) as has_totals;
