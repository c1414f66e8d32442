INSERT INTO public.users (uuid, display_name, handle, email, cognito_user_id)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
