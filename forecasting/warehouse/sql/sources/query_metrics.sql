-- The metrics of the user's own query, which goes in front: `with given as (...)`.
select distinct given.metric::text as metric
from given
where given.metric is not null
order by metric;
