-- The version of our own schema.
select schema_version.number
from forecasting.schema_version;
