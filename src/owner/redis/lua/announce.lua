-- announce: mirrors domain/presence.rs
-- ARGV: 5 how a user is. Where joins and leaves are not told, nor is this.
local why = open()
if why then return refuse(why) end
if call('HLEN', M) <= announce then call(publish, K, ARGV[5]) end
return done('"r":1', true)
