-- A source may change how it measures a metric. Its days are then read again.
alter table forecasting.metrics add column if not exists revision text not null default '';

update forecasting.schema_version set number = 3 where number < 3;
