-- Leading and trailing NULLs are not part of a series: it begins with its first value and ends with its last.
-- $1 text     source
delete from incoming
using (
    select
        incoming.key,
        incoming.metric,
        min(incoming.day) filter (where incoming.value <> 'NaN') as first_day,
        max(incoming.day) filter (where incoming.value <> 'NaN') as last_day,
        exists (
            select
            from forecasting.daily as stored
            inner join forecasting.sites on sites.site = stored.site
            where
                sites.source = $1::text
                and sites.key = incoming.key
                and stored.metric = incoming.metric
                and stored.day < min(incoming.day)
        ) as goes_on
    from incoming
    group by incoming.key, incoming.metric
) as whole
where
    whole.key = incoming.key
    and whole.metric = incoming.metric
    and (
        incoming.day > coalesce(whole.last_day, '-infinity')
        or (incoming.day < whole.first_day and not whole.goes_on)
    );
