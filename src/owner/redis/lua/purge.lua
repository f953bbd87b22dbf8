-- purge: mirrors domain/membership.rs
-- The members of a dead node leave.
local dead_node = ARGV[5]
local why = open()
if why then return refuse(why) end
for _, text in ipairs(call('HVALS', members_key)) do
  local seat = cjson.decode(text)
  if tostring(seat.q) == dead_node then
    leave(seat, text)
    -- The node can be cut off, not dead: it has the member return.
    tell('@' .. seat.c, '"purged"')
  end
end
watch_streams()
rest()
return done('"r":1')
