-- lose: mirrors domain/recovery.rs
-- ARGV: 5 connection. Who is lost types no longer, whether or not it returns.
local why = open()
if why then return refuse(why) end
touch()
stop_typing(ARGV[5], ARGV[5])
return done('"r":1', true)
