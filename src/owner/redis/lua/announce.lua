-- announce: mirrors domain/presence.rs
-- A message for the members, outside the room's order; not where joins and leaves are not announced.
local body = ARGV[5]
local why = open()
if why then return refuse(why) end
if count_members() <= announce then call(publish, key, body) end
return done('"r":1', true)
