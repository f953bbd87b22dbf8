-- withdraw: mirrors domain/membership.rs
-- ARGV: 5 user, 6 the one connection or empty.
local why = open()
if why then return refuse(why) end
touch()
local found = false
local texts = ARGV[6] == '' and call('HVALS', M) or {call('HGET', M, ARGV[6]) or nil}
for _, text in ipairs(texts) do
  local seat = cjson.decode(text)
  if seat.w[1] == ARGV[5] then
    leave(seat, text)
    tell('@' .. seat.c, '{"out":"left"}')
    found = true
  end
end
if ARGV[6] == '' and room.made and call('ZREM', A, ARGV[5]) == 1 then found = true end
rest()
return done(found and '"r":1' or '"x":"not_in_room"')
