-- The earlier system's table can lack the column, or require a value. A user without a verified e-mail address has none.
ALTER TABLE public.users ADD COLUMN IF NOT EXISTS email text;
ALTER TABLE public.users ALTER COLUMN email DROP NOT NULL;
