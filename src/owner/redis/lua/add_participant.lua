-- add_participant: mirrors domain/membership.rs
-- A user becomes a participant, and their connections become members.
-- Arguments from 7 on: the future members.
local user_id, is_admin = ARGV[5], ARGV[6]
local why = open()
if why then return refuse(why) end
local is_known = not room.made or call('ZSCORE', participants_key, user_id)
if is_known then touch() end
if not admits(user_id, is_admin) then return refuse('private') end
if is_locked_for(user_id, is_admin) then return refuse('locked') end
if not is_known and call('ZCARD', participants_key) >= PARTICIPANTS_MAX then return refuse('participants_full') end
touch()
for at = 7, #ARGV do
  local seat = cjson.decode(ARGV[at])
  if call('HEXISTS', members_key, seat.c) == 0 then
    local answer, refused = join(seat, is_admin)
    if not answer then
      rest()
      return done('"x":"' .. refused .. '"')
    end
    tell('@' .. seat.c, '{"you":{"e":"' .. room.epoch .. '",' .. answer[1] .. table.concat(answer[2], ',') .. answer[3] .. '}}')
    tell_mode_to(seat)
    hand(seat, '{"enter":{"e":"' .. room.epoch .. '","n":' .. room.number .. ',"s":' .. room.seq ..
      ',"z":' .. room.generation .. '}}')
  end
end
if not is_known then
  local last = call('ZRANGE', participants_key, -1, -1, 'WITHSCORES')[2]
  call('ZADD', participants_key, (tonumber(last) or 0) + 1, user_id)
  tell_info()
end
rest()
return done('"r":1')
