-- Numbers that are known ahead, such as weather or prices: our own copy of the table or file that data.regressors names,
-- with all of its days, so that forecasts do not wait for the source.
create table if not exists forecasting.regressors (
    origin text, -- the table or file
    site text, -- empty: all sites
    name text,
    first_day date not null,
    numbers double precision [] not null, -- of the days from first_day on; NULL: not known
    primary key (origin, site, name)
);

-- Forecasts depend on them.
drop trigger if exists count_inserted on forecasting.regressors;
create trigger count_inserted after insert on forecasting.regressors
referencing new table as changed for each statement execute function forecasting.count_event_change();
drop trigger if exists count_updated on forecasting.regressors;
create trigger count_updated after update on forecasting.regressors
referencing new table as changed for each statement execute function forecasting.count_event_change();
drop trigger if exists count_deleted on forecasting.regressors;
create trigger count_deleted after delete on forecasting.regressors
referencing old table as changed for each statement execute function forecasting.count_event_change();
drop trigger if exists count_truncated on forecasting.regressors;
create trigger count_truncated after truncate on forecasting.regressors
for each statement execute function forecasting.count_event_change();

update forecasting.schema_version set number = 10 where number < 10;
