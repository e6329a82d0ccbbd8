-- Drops days from `incoming` that were only read to tell how the later days go on, if they are stored.
-- $1 text     source
-- $2 date     the first of the later days
delete from incoming
using forecasting.sites
inner join forecasting.daily as stored on stored.site = sites.site
where
    sites.source = $1::text
    and sites.key = incoming.key
    and stored.metric = incoming.metric
    and stored.day = incoming.day
    and incoming.day < $2::date;
