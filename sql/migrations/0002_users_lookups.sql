-- Both are looked up on every request. A handle names one user.
CREATE UNIQUE INDEX IF NOT EXISTS users_handle_key ON public.users (handle);
-- Not unique: the earlier system wrote MOCK for every user that Cognito did not know yet. Those are left out.
CREATE INDEX IF NOT EXISTS users_cognito_user_id_idx ON public.users (cognito_user_id) WHERE cognito_user_id <> 'MOCK';
