-- One at a time makes or refreshes our own schema; held until the transaction ends.
select pg_advisory_xact_lock(hashtextextended('website-traffic-forecasting', 0));
