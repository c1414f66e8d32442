SELECT handle AS "handle!", cognito_user_id AS "cognito_user_id!"
FROM public.users
WHERE uuid = ANY($1) AND handle IS NOT NULL AND cognito_user_id IS NOT NULL
ORDER BY created_at, handle
