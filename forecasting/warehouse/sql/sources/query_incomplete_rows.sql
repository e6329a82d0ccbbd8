-- How many rows of the user's own query have no site, metric or day. The query goes in front: `with given as (...)`.
select
    count(*) filter (where given.site is null) as site,
    count(*) filter (where given.metric is null) as metric,
    count(*) filter (where given.day is null) as day
from given;
