-- purge: mirrors domain/membership.rs
-- ARGV: 5 a node that is no more. Its connections have left.
local why = open()
if why then return refuse(why) end
for _, text in ipairs(call('HVALS', M)) do
  local seat = cjson.decode(text)
  if tostring(seat.q) == ARGV[5] then
    leave(seat, text)
    -- It may only have been slow.
    tell('@' .. seat.c, '{"out":"removed"}')
  end
end
rest()
return done('"r":1')
