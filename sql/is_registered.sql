SELECT EXISTS (SELECT 1 FROM public.users WHERE cognito_user_id = $1) AS "is_registered!"
