-- Only one transaction at a time may create or update our own schema. The lock is held until the transaction ends.
select pg_advisory_xact_lock(hashtextextended('website-traffic-forecasting', 0));
