-- Rows without a value are not part of a series before its first value, nor after its last. Where a value is stored, they
-- replace it, unless `incoming` has no earlier value of the series: the column may be a new one.
-- $1 text     source
delete from incoming
using (
    select
        arrived.key,
        arrived.metric,
        arrived.first_day,
        arrived.last_day,
        exists (
            select from forecasting.daily as stored
            where stored.site = sites.site and stored.metric = arrived.metric and stored.day < arrived.begins
        ) as goes_on,
        exists (
            select from forecasting.daily as stored
            where stored.site = sites.site and stored.metric = arrived.metric and stored.day > arrived.ends
        ) as is_followed
    from (
        select
            incoming.key,
            incoming.metric,
            min(incoming.day) as begins,
            max(incoming.day) as ends,
            min(incoming.day) filter (where incoming.value <> 'NaN') as first_day,
            max(incoming.day) filter (where incoming.value <> 'NaN') as last_day
        from incoming
        group by incoming.key, incoming.metric
        having bool_or(incoming.value is null or incoming.value = 'NaN')
    ) as arrived
    inner join forecasting.sites on sites.source = $1::text and sites.key = arrived.key
) as series
where
    series.key = incoming.key
    and series.metric = incoming.metric
    and (incoming.value is null or incoming.value = 'NaN')
    and case
        when exists (
            select from forecasting.daily as stored
            inner join forecasting.sites on sites.site = stored.site
            where
                sites.source = $1::text
                and sites.key = incoming.key
                and stored.metric = incoming.metric
                and stored.day = incoming.day
                and stored.value <> 'NaN'
        )
            then incoming.day < coalesce(series.first_day, 'infinity')
        else
            (incoming.day > coalesce(series.last_day, '-infinity') and not series.is_followed)
            or (incoming.day < coalesce(series.first_day, 'infinity') and not series.goes_on)
    end;
