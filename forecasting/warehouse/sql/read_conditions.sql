-- What was found wrong and was told, and is not over.
select cause, began_at from forecasting.conditions where ended_at is null;
