SELECT
    EXISTS (SELECT 1 FROM public.users WHERE cognito_user_id = $1) AS "cognito_user_id!",
    EXISTS (SELECT 1 FROM public.users WHERE handle = $2) AS "handle!"
