-- push: mirrors domain/user.rs
-- ARGV: 6 the message.
read()
return '{"k":' .. hand(',"p":' .. ARGV[6]) .. '}'
