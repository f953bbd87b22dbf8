-- push: mirrors domain/user.rs
-- Publishes a direct message without storing it.
local direct = ARGV[6]
read()
return '{"k":' .. hand(',"p":' .. direct) .. '}'
