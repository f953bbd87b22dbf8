-- count: mirrors domain/room.rs
-- Publishes a count that has changed, once for all nodes. `kind`: "u" number of members, "w" number of users,
-- "n" the users, which the calling node looks up and announces, unless the room is too large for that.
local kind = ARGV[5]
local why = open()
if why then return refuse(why) end
if call('HDEL', key, kind == 'n' and 'w' or kind) == 1 and call('HLEN', members_key) > 0 then
  if kind == 'u' then
    tell('*', '{"stats":' .. participant_count() .. '}')
  elseif room.socketio_count > 0 then
    check_users()
    if kind == 'n' and count_members() <= announce then
      return done('"us":' .. cjson.encode(call('ZRANGE', users_key, 0, -1)), true)
    end
    tell('*', '{"online":' .. call('ZCARD', users_key) .. '}')
  end
end
return done('"r":1', true)
