-- Never changes a row that exists: a handle that is in use adds nothing.
INSERT INTO public.users (display_name, handle, email, cognito_user_id)
SELECT $1, $2, $3, $4
WHERE NOT EXISTS (SELECT 1 FROM public.users WHERE cognito_user_id = $4)
ON CONFLICT DO NOTHING
