UPDATE public.users
SET cognito_user_id = new.id
FROM UNNEST($1::uuid[], $2::text[]) AS new (uuid, id)
WHERE users.uuid = new.uuid
