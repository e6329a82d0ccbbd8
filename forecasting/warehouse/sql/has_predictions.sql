-- Whether the documented table `predictions` exists with its columns, and whether this user may write to it.
select
    predictions.name is not null as exists_here,
    predictions.name is not null
    and has_table_privilege(predictions.name, 'select')
    and has_table_privilege(predictions.name, 'insert')
    and has_table_privilege(predictions.name, 'update') as is_writable,
    (
        select count(*)
        from information_schema.columns as columns
        where
            columns.table_schema = any(current_schemas(false))
            and columns.table_name = 'predictions'
            and (
                columns.column_name in ('metric_name', 'predicted_date', 'predicted_value', 'model_version')
                or columns.column_name = 'confidence_interval' and columns.data_type in ('json', 'jsonb')
            )
    ) = 5 as has_columns
from (select to_regclass('predictions') as name) as predictions;
