-- Only one transaction at a time may write to `predictions`, which has no key: rows could be there twice. The lock is
-- held until the transaction ends.
select pg_advisory_xact_lock(hashtextextended('website-traffic-forecasting predictions', 0));
