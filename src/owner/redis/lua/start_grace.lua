-- start_grace: mirrors domain/recovery.rs
-- A member's connection was lost: its typing indicator ends, whether or not it returns.
local connection = ARGV[5]
local why = open()
if why then return refuse(why) end
touch()
stop_typing(connection, connection)
return done('"r":1', true)
