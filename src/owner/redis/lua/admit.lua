-- admit: mirrors domain/membership.rs
-- ARGV: 5 user, 6 1 if an admin, 7 participants that a room takes, then the members to be.
local why = open()
if why then return refuse(why) end
if not admits(ARGV[5], ARGV[6]) then return refuse('private') end
local is_known = not room.made or call('ZSCORE', A, ARGV[5])
if not is_known and call('ZCARD', A) >= tonumber(ARGV[7]) then return refuse('participants_full') end
touch()
for at = 8, #ARGV do
  local seat = cjson.decode(ARGV[at])
  if call('HEXISTS', M, seat.c) == 0 then
    local answer, refused = join(seat, ARGV[6])
    if not answer then
      rest()
      return done('"x":"' .. refused .. '"')
    end
    tell('@' .. seat.c, '{"you":{"e":"' .. room.e .. '",' .. answer .. '}}')
    hand(seat, '{"enter":{"e":"' .. room.e .. '","n":' .. room.n .. ',"s":' .. room.s ..
      ',"z":' .. room.zi .. '}}')
  end
end
if not is_known then
  local last = call('ZRANGE', A, -1, -1, 'WITHSCORES')[2]
  call('ZADD', A, (tonumber(last) or 0) + 1, ARGV[5])
end
rest()
return done('"r":1')
