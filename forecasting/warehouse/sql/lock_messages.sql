-- Until the end of the transaction, nobody else writes messages: two who look for news at once would write them twice.
select pg_advisory_xact_lock(hashtext('forecasting.messages'));
