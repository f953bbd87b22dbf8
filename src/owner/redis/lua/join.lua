-- join: mirrors domain/membership.rs
-- A connection becomes a member. `may_create`: 1 if a room that does not exist is made, with `new_epoch`; `has_host`: 1 if its
-- maker is its host; `rewind`: the number of last messages that it gets.
local member_text, is_admin, is_guest, may_create, new_epoch, has_host = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local rewind = tonumber(ARGV[11] or 0)
local why = open(may_create == '1')
local seat = cjson.decode(member_text)
if why then
  if may_create == '0' or why == 'unsettled' then return refuse(why) end
  if has_host == '1' then
    make(new_epoch, cjson.encode(seat.w), seat.w[1], is_guest, false, seat.w[1])
  else
    make(new_epoch, '["","","",0]', '', '0', false, seat.w[1])
  end
  each('PEXPIRE', JOINED_ROOM_IDLE_MS)
  due = due + 4
end
touch()
local was_member = rewind > 0 and call('HEXISTS', members_key, seat.c) == 1
local answer, refused = join(seat, is_admin)
if answer then
  tell_mode_to(seat)
  watch_streams()
end
if answer and rewind > 0 and not was_member then
  local _, texts = page(nil, rewind)
  answer[#answer + 1] = ',"rw":['
  return done(answer, false, texts)
end
return done(answer or '"x":"' .. refused .. '"')
