-- How many rows of the user's own query are of no site, metric or day. It goes in front: `with given as (...)`.
select
    count(*) filter (where given.site is null) as site,
    count(*) filter (where given.metric is null) as metric,
    count(*) filter (where given.day is null or not isfinite(given.day)) as day
from given;
