-- relay_signal: mirrors domain/signaling.rs
-- A signaling message to a member. `own_peer`: the peer id that the sender gives as its own, or empty; `load`: time after
-- which the member takes as much again, in milliseconds, 0: any number.
local connection, own_peer, peer, kind, body, load = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])
local why = open()
if why then return refuse(why) end
touch()
local seat, text = seat_of(connection)
if not seat then return refuse('not_in_room') end
if own_peer ~= '' and own_peer ~= seat.c and name_of(seat) ~= own_peer then return refuse('peer_mismatch') end
if observes(seat) then return refuse('observer') end
local target, target_text = addressed(peer)
if not target then return refuse('peer_not_found') end
if load > 0 then
  local load_key = key .. ':g:' .. target.c
  local level = math.max(call('PTTL', load_key), 0) + load
  if level > SIGNALS_MS then return refuse('signals_full:' .. level - SIGNALS_MS) end
  call('SET', load_key, '', 'PX', level)
end
if has_modes and seat.v < 16 then
  seat.v = seat.v + 16
  text = write(seat)
  note_media(seat.v, seat.v)
end
hand(target, '{"signal":{"p":' .. text .. ',"to":' .. target_text .. ',"y":"' .. kind .. '","b":' .. body .. '}}')
return done('"r":1')
