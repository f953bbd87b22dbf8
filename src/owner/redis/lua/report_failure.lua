-- report_failure: mirrors domain/call.rs
-- A member cannot connect to the member `peer`, or to the media server ("sfu").
local connection, peer = ARGV[5], ARGV[6]
local why = open()
if why then return refuse(why) end
touch()
local seat = seat_of(connection)
if not seat then return refuse('not_in_room') end
if observes(seat) then return refuse('observer') end
local is_capable = math.floor(seat.v / 8) % 2 == 1
if peer == 'sfu' then
  if is_capable then
    local before = seat.v
    seat.v = before - 8
    note_media(before, seat.v)
    tell('*' .. seat.c, '{"media":' .. write(seat) .. '}')
  end
  return done('"r":1')
end
local other = addressed(peer)
if not other then return refuse('peer_not_found') end
if has_modes and is_capable and math.floor(other.v / 8) % 2 == 1 and other.c ~= seat.c then
  call('HSET', key, 'cl', count_callers())
  has_call_news = true
end
return done('"r":1')
